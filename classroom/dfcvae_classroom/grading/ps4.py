"""Hidden tests of problem set 4: five dealt faults in a DFC-VAE, found, repaired, and caught by tests.

``deal_notebook`` puts a course's faults into the source notebook. The program, its faults, its promises and
the model answers stand in ``wild/``.
"""

from __future__ import annotations

import ast
import inspect
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from dfcvae import dfc, perceptual, pytorch_vae, vae, vgg
from dfcvae.course.checks import ps4
from dfcvae.course.checks.trial import Poisoned
from dfcvae_classroom.grading import Check, Deal, Task
from dfcvae_classroom.grading.wild import answers as model_answers
from dfcvae_classroom.grading.wild import program
from dfcvae_classroom.grading.wild.case import Case
from dfcvae_classroom.grading.wild.editing import build, dealt, rewritten, text
from dfcvae_classroom.grading.wild.faults import FAULTS, Edit
from dfcvae_classroom.grading.wild.promises import PROMISES, broken
from dfcvae_classroom.guard import TimeUp

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOUND, REPAIR, TEST = 5.0, 15.0, 15.0  # points of the coded tasks; a fifth for each fault
OTHERS = 0.2  # of a repair's points: that nothing else broke
PUBLISHED = 0.4  # of a test's points: for the fault as published; the rest for repairs that do not hold
MOST_TESTS, MOST_SECONDS = 10, 45.0  # of one student; a mutant that was not met by then is not caught


def share(found: Mapping[str, str], deal: Deal) -> float:
    """How much of the five faults an answer {promise: place} names: 0 to 1.

    Of each fault six tenths for the promise and four for the place. A promise that is not broken costs six.
    """
    named = {str(promise).strip().upper(): str(place).strip() for promise, place in found.items()}
    score = 0.0
    for name in dealt(deal):
        fault = FAULTS[name]
        if fault.promise in named:
            score += 0.6 + 0.4 * (named.pop(fault.promise) in fault.places)
    return max(0.0, score - 0.6 * len(named)) / len(dealt(deal))


def _found(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    yield FOUND * share(answers["found"], deal), lambda: True


def _repaired(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    case = Case(answers["Repaired"], deal.random("ps4", "repaired"))
    _is_own(case)
    promises = [FAULTS[name].promise for name in dealt(deal)]
    sound = not any(broken(case, promise) for promise in PROMISES if promise not in promises)
    for promise in promises:
        left = 1.0 - sum(lost for lost, _ in broken(case, promise))
        worth = REPAIR / len(promises)
        yield worth * (1 - OTHERS) * left, lambda: True
        yield worth * OTHERS, lambda left=left: sound and left > 0.99


def _is_own(case: Case) -> None:
    """Raises Poisoned where a part of the class was taken from this package, or built from its text."""
    origins = {cls.__module__ for part in case.model().modules() for cls in type(part).__mro__}
    if any(origin.split(".")[0] in ("dfcvae", "program") for origin in origins):
        raise Poisoned("the course's own program was handed in")


def passes(test: Callable[[type], Any], Model: type, seed: int) -> bool:
    """Whether a test takes a class; whatever it raises is a "no", and what it returns does not count."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        try:
            test(Model)
        except (KeyboardInterrupt, TimeUp):
            raise
        except BaseException:  # what pytest.fail and pytest.raises raise is no Exception
            return False
    return True


def right_programs(deal: Deal) -> list[type]:
    """Four programs without a fault that are written differently."""
    sources = [text()] + [rewritten(deal.random("ps4", "right", i)) for i in range(3)]
    return [build(source)["WildDFCVAE"] for source in sources]


def mutants(fault: str, deal: Deal) -> list[tuple[float, type]]:
    """(share, class) of the fault as published and of each half repair, the rest written in a dealt way."""
    halves = FAULTS[fault].halves
    shares = {"": PUBLISHED} | dict.fromkeys(halves, (1 - PUBLISHED) / len(halves))
    edits: dict[str, Edit] = {"": FAULTS[fault].published} | halves
    return [
        (part, build(rewritten(deal.random("ps4", fault, how), edits[how]))["WildDFCVAE"])
        for how, part in shares.items()
    ]


def _tests(answers: Mapping[str, Any], deal: Deal) -> Iterator[Check]:
    seed, rights = deal.seed("ps4", "tests") % 2**31, right_programs(deal)
    handed_in = list({id(test): test for test in answers["tests"]}.values())[:MOST_TESTS]
    start = time.monotonic()
    sound = [
        test for test in handed_in if all(passes(test, Model, seed + i) for i, Model in enumerate(rights))
    ]

    def caught(mutant: type) -> bool:
        for test in sound:
            if time.monotonic() - start > MOST_SECONDS:
                return False
            if not passes(test, mutant, seed):
                sound.insert(0, sound.pop(sound.index(test)))  # it will most likely catch the next one, too
                return True
        return False

    for fault in dealt(deal):
        for part, mutant in mutants(fault, deal):
            yield TEST / len(dealt(deal)) * part, lambda mutant=mutant: caught(mutant)


CLASSES = (program.WildDFCVAE, program.Judge, pytorch_vae.DFCVAE, dfc.DFCVAE, vae.VAE)
CLASSES += (perceptual.PerceptualLoss, vgg.VGGFeatures)
METHODS = [f for owner in CLASSES for f in vars(owner).values() if isinstance(f, types.FunctionType)]
# A constructor, which has super() in it, may be called: what comes of it is looked at by other means.
MODELS = (*(f for f in METHODS if not f.__code__.co_freevars), vgg.freeze, vae.kl_divergence)
ASKED = [*vars(ps4).values(), *vars(ps4.Promises).values()]
OWN = [f for f in ASKED if isinstance(f, types.FunctionType) and f.__module__ == ps4.__name__]
QUESTIONS = tuple({question for asked in PROMISES.values() for _, question in asked})

TASKS = {
    "found": Task(FOUND, _found),
    "repaired": Task(REPAIR, _repaired, MODELS),
    "tests": Task(
        TEST, _tests, (*MODELS, *OWN, *QUESTIONS, broken, Case.model, *model_answers.TESTS.values())
    ),
}


# The notebook of a course


def program_cells(deal: Deal) -> dict[str, str]:
    """The program with the dealt faults in it, by the ids of the cells that hold it."""
    found = text(*(FAULTS[name].published for name in dealt(deal)))
    classes = {node.name: node for node in ast.parse(found).body if isinstance(node, ast.ClassDef)}
    return {
        "program-vgg": inspect.getsource(program.small_vgg).rstrip(),
        "program-judge": ast.get_source_segment(found, classes["Judge"]),
        "program-model": ast.get_source_segment(found, classes["WildDFCVAE"]),
    }


def solution_cells(deal: Deal) -> dict[str, str]:
    """The model answers to the dealt faults, by the ids of the answer cells."""
    names, whole = dealt(deal), text()
    places = "\n".join(f'    "{FAULTS[name].promise}": "{FAULTS[name].places[0]}",' for name in names)
    classes = [node for node in ast.parse(whole).body if isinstance(node, ast.ClassDef)]
    repaired = "\n\n\n".join(ast.get_source_segment(whole, node) for node in classes)
    repaired = repaired.replace("Judge", "RepairedJudge").replace("WildDFCVAE", "Repaired")
    tests = "\n\n\n".join(inspect.getsource(model_answers.TESTS[name]).rstrip() for name in names)
    called = ", ".join(model_answers.TESTS[name].__name__ for name in names)
    written = [f"**{FAULTS[name].promise}.** {model_answers.EXPLANATIONS[name]}" for name in names]
    return {
        "found": f"found = {{\n{places}\n}}",
        "explained": "\n\n".join(written),
        "repaired": repaired,
        "tests": f"{tests}\n\n\ntests = [{called}]",
    }


def deal_notebook(notebook: NotebookNode, deal: Deal) -> NotebookNode:
    """The source notebook with a course's faults in the program and the answers to them in the answer cells.

    Changes the notebook and gives it back. Raises KeyError where a cell that is dealt to is missing.
    """
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    for grade_id, source in program_cells(deal).items():
        cells[grade_id].source = source
    for grade_id, source in solution_cells(deal).items():
        before, _, rest = cells[grade_id].source.partition("### BEGIN SOLUTION\n")
        guide, _, after = rest.partition("### END SOLUTION")
        kept = guide[guide.index("=== BEGIN MARK SCHEME") :] if "=== BEGIN MARK SCHEME" in guide else ""
        cells[grade_id].source = (
            f"{before}### BEGIN SOLUTION\n{source}\n"
            + (f"\n{kept}" if kept else "")
            + f"### END SOLUTION{after}"
        )
    return notebook
