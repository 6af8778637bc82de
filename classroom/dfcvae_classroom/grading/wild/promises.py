"""What the program promises, as questions to a class: each gives "" or says what is wrong.

P1 to P10 are broken by one fault each, P11 to P14 by none. A promise has several questions with their share
of its worth, and a published fault answers none of them: what is right before a repair earns nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from dfcvae_classroom.grading.wild import judging, network
from dfcvae_classroom.grading.wild.case import Case

Question = Callable[[Case], str]

PROMISES: dict[str, tuple[tuple[float, Question], ...]] = {
    "P1": ((0.5, network.in_range), (0.5, network.not_clipped)),
    "P2": ((0.6, judging.normalised), (0.4, judging.normalised_in_the_loss)),
    "P3": ((0.5, judging.unmoved), (0.5, judging.alone)),
    "P4": ((0.5, judging.named_layers), (0.5, judging.all_layers)),
    "P5": ((0.6, judging.as_given), (0.4, judging.heard)),
    "P6": ((0.3, judging.not_saved), (0.4, judging.not_optimised), (0.3, judging.loads_and_moves)),
    "P7": ((0.4, network.other_size), (0.3, network.other_depth), (0.3, network.other_width)),
    "P8": ((0.6, network.list_kept), (0.4, network.list_forgotten)),
    "P9": ((0.4, network.bounded), (0.3, network.finite), (0.3, network.harmless)),
    "P10": ((0.6, network.from_mu), (0.4, network.draws_elsewhere)),
    "P11": ((1.0, network.kl_in_nats),),
    "P12": ((1.0, network.sum_of_terms),),
    "P13": ((1.0, network.decoder_hears),),
    "P14": ((1.0, network.deviation),),
}


def broken(case: Case, promise: str) -> list[tuple[float, str]]:
    """(share, what is wrong) of each question that a class does not answer; an exception is an answer too."""
    found = []
    for share, question in PROMISES[promise]:
        try:
            wrong = question(case)
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no text'}"
        if wrong:
            found.append((share, wrong))
    return found
