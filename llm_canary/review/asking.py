"""Asks people about one answer that somebody wants to be looked at.

The review is a targeted one: what people say is kept and shown, and changes no estimate, because
the answer was not chosen by chance. Who was asked by chance stays asked by chance.
"""

from __future__ import annotations

from sqlalchemy.engine import Engine

from llm_canary.errors import Conflict, NotFound
from llm_canary.sampling import Stream
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories import reviews as queue
from llm_canary.storage.repositories.samples import texts


def ask_people(engine: Engine, sample_id: str) -> None:
    """Put the sample into the review queue; raise Conflict where people are asked already."""
    with write_session(engine) as session:
        sample = queue.sample_of(session, sample_id, lock=True)
        if sample is None:
            raise NotFound(f"there is no sample {sample_id!r}; /samples lists them")
        if sample.review_stream is not None:
            raise Conflict(
                f"people are asked about this answer already ({sample.review_stream}; "
                f"{sample.review_state or 'not in the queue'})"
            )
        kept = texts(session, [sample.inference_id]).get(sample.inference_id)
        if kept is None or kept[2] is None or kept[3] is None:
            raise Conflict("the text of this answer is not kept, so nobody could review it")
        sample.review_stream = Stream.TARGETED.value
        sample.reviews_wanted = 1
        sample.review_state = queue.OPEN
        session.add(sample)
