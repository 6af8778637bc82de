"""What ``dfcvae classroom new | release | grade | restore | table`` do with their options."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfcvae_classroom import cells
from dfcvae_classroom.course import ASSIGNMENTS, Course, new


def run(options: argparse.Namespace) -> None:
    {"new": _new, "release": _release, "grade": _grade, "restore": _restore, "table": _table}[options.what](
        options
    )


def _new(options: argparse.Namespace) -> None:
    course = new(options.folder)
    print(
        f"{course.folder}: {', '.join(course.sets)}. Keep it private: it holds the secret and the solutions."
    )
    print(f"next: dfcvae classroom release {options.folder}")


def _release(options: argparse.Namespace) -> None:
    from dfcvae_classroom.release import public, release

    if options.folder is None:
        lines = public(check=options.check)
    elif options.check:
        raise ValueError("--check is of the repository's own release: give it without a folder.")
    else:
        lines = release(Course.open(options.folder))
    print("\n".join(lines))
    if options.folder:
        print(f"next: hand out {options.folder / 'release'}, and later")
        print(f"      dfcvae classroom grade {options.folder} --submitted FOLDER_OF_NOTEBOOKS")


def _grade(options: argparse.Namespace) -> None:
    from dfcvae_classroom.grade import grade
    from dfcvae_classroom.sandbox import Limits

    limits = Limits(cell=options.seconds, task=options.seconds, whole=5 * options.seconds)
    course, submitted = _course_of(options.folder, options.submitted)
    report = grade(course, submitted, limits)
    print(f"done: look at {report}")


def _course_of(folder: Path, submitted: Path | None) -> tuple[Course, Path | None]:
    """(course, notebooks): ``folder`` is a course, or notebooks for the course around them or here."""
    if submitted is None and folder.is_dir() and not Course.is_one(folder):
        for place in (*folder.resolve().parents, Path.cwd()):
            if Course.is_one(place):
                return Course.open(place), folder
        raise ValueError(
            f"{folder} is no course folder, and neither around it nor here is one: give the course first,  "
            f"dfcvae classroom grade COURSE --submitted {folder}"
        )
    return Course.open(folder), submitted


def _restore(options: argparse.Namespace) -> None:
    from dfcvae_classroom.restore import restore_file

    if options.course:
        releases = Course.open(options.course).release_notebooks()
    else:
        paths = sorted((ASSIGNMENTS / "release").glob("*/*.ipynb"))
        releases = {path.stem: cells.read(path) for path in paths}
    told = [restore_file(path, releases) for path in options.notebooks]
    print("\n".join(line for lines, _ in told for line in lines))
    failed = sum(not whole for _, whole in told)
    if failed:
        raise ValueError(f"{failed} of {len(told)} notebooks could not be restored; see above.")


def _table(options: argparse.Namespace) -> None:
    from dfcvae_classroom.table import write

    print(write(check=options.check))
