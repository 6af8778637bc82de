"""Photographs: found, decoded, cropped and packed."""
