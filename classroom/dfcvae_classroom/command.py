"""The command ``dfcvae-classroom``: new, release, grade, restore, table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dfcvae.files import one_line


def main(arguments: list[str] | None = None) -> int:
    """The exit status; what goes wrong is told in one line."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        return _tell("stopped; the same command goes on with what is not graded yet.", 130)
    except (ValueError, OSError) as error:
        return _tell(str(error), 1)
    return 0


def _tell(what: str, status: int) -> int:
    print(f"dfcvae-classroom: {one_line(what, 1500)}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dfcvae-classroom", description="Problem sets of the DFC-VAE course for a class."
    )
    added = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        one = added.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    one = command("new", _new, "make an instructor's private course folder")
    one.add_argument("course", type=Path)
    release = command("release", _release, "write what students get; without a course, the repository's own")
    release.add_argument("course", type=Path, nargs="?")
    one = command("grade", _grade, "grade notebooks: feedback pages, tables, a report")
    one.add_argument("course", type=Path, help="the course folder, or in it a folder of notebooks")
    one.add_argument("--submitted", type=Path, help="folder of notebooks (else the course's submitted/)")
    one.add_argument("--seconds", type=float, default=60, help="that a cell or a task may take (60)")
    one = command("restore", _restore, "put lost grading metadata back into notebooks")
    one.add_argument("notebooks", type=Path, nargs="+")
    one.add_argument("--course", type=Path, help="whose release they are of (else the public one)")
    table = command("table", _table, "write the table of problem sets into the repository's docs/teaching.md")
    for one in (release, table):
        one.add_argument("--repo", type=Path, default=Path("."), help="checkout of the course (this folder)")
        one.add_argument("--check", action="store_true", help="change nothing; fail where it is out of date")
    return parser


def _new(options: argparse.Namespace) -> None:
    from dfcvae_classroom.course import new

    course = new(options.course)
    print(
        f"{course.folder}: {', '.join(course.sets)}. Keep it private: it holds the secret and the solutions."
    )
    print(f"next: dfcvae-classroom release {options.course}")


def _release(options: argparse.Namespace) -> None:
    from dfcvae_classroom.course import Course
    from dfcvae_classroom.release import publish, release

    if options.course is None:
        print("\n".join(publish(_repository(options.repo), options.check)))
        return
    if options.check:
        raise ValueError("--check is of the repository's own release: give it without a course.")
    print("\n".join(release(Course.open(options.course))))
    print(f"next: hand out {options.course / 'release'}, and later")
    print(f"      dfcvae-classroom grade {options.course} --submitted FOLDER_OF_NOTEBOOKS")


def _repository(folder: Path) -> Path:
    if not (folder / "notebooks" / "assignments").is_dir():
        raise ValueError(
            f"{folder.absolute()} is no checkout of the course (it has no notebooks/assignments): give one "
            "with --repo, or a course folder."
        )
    return folder


def _grade(options: argparse.Namespace) -> None:
    from dfcvae_classroom.grade import grade
    from dfcvae_classroom.sandbox import Limits

    course, submitted = _course_of(options.course, options.submitted)
    limits = Limits(cell=options.seconds, task=options.seconds, whole=5 * options.seconds)
    print(f"done: look at {grade(course, submitted, limits)}")


def _course_of(folder: Path, submitted: Path | None):
    """(course, notebooks): ``folder`` is a course, or notebooks for the course around them or here."""
    from dfcvae_classroom.course import Course

    if submitted is not None or not folder.is_dir() or Course.is_one(folder):
        return Course.open(folder), submitted
    for place in (*folder.resolve().parents, Path.cwd()):
        if Course.is_one(place):
            return Course.open(place), folder
    raise ValueError(
        f"{folder} is no course folder, and neither around it nor here is one: give the course first,  "
        f"dfcvae-classroom grade COURSE --submitted {folder}"
    )


def _restore(options: argparse.Namespace) -> None:
    import nbformat

    from dfcvae_classroom.course import Course
    from dfcvae_classroom.release import public
    from dfcvae_classroom.restore import restore_file

    if options.course:
        releases = Course.open(options.course).release_notebooks()
    else:
        releases = {name: nbformat.reads(text, as_version=4) for name, text in public().items()}
    told = [restore_file(path, releases) for path in options.notebooks]
    print("\n".join(line for lines, _ in told for line in lines))
    failed = sum(not whole for _, whole in told)
    if failed:
        raise ValueError(f"{failed} of {len(told)} notebooks could not be restored; see above.")


def _table(options: argparse.Namespace) -> None:
    from dfcvae_classroom.table import write

    print(write(_repository(options.repo), options.check))
