"""The classroom: problem sets for a class, graded by nbgrader, student code run in a sandbox.

An instructor's commands are ``dfcvae-classroom new | release | grade | restore``; docs/teaching.md tells the
whole of it. Nothing here is imported by ``dfcvae``.
"""
