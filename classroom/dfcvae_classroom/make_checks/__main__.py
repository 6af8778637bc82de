"""``python -m dfcvae_classroom.make_checks [--check]``."""

from __future__ import annotations

import sys

from dfcvae_classroom.make_checks import SETS, made, out_of_date, text, written


def main() -> None:
    stale = [name for name in SETS if out_of_date(name)]
    for name in stale:
        print(f"{written(name)}: {'out of date' if '--check' in sys.argv[1:] else 'written'}")
        if "--check" not in sys.argv[1:]:
            written(name).write_text(text(made(name)), encoding="utf-8")
    if "--check" in sys.argv[1:] and stale:
        sys.exit("run  python -m dfcvae_classroom.make_checks")


if __name__ == "__main__":
    main()
