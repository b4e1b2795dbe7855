"""One round of describing: generate, judge, and decide what becomes of each artwork. Texts in, texts out; no store, no cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from artquant.core.errors import Reject
from artquant.core.schema import CRITIQUE_PARTS, RejectClass
from artquant.descriptions import Answer, Form, Request
from artquant.descriptions.cache import Asker
from artquant.descriptions.languages import is_in_language
from artquant.descriptions.parsing import parse_texts, parse_verdict
from artquant.prompts import Templates
from artquant.prompts.asking import Subject, described, generator_questions, judge_question

_RAW_CHARACTERS = 2000  # of an answer that cannot be read, kept in the message


@dataclass(frozen=True)
class Verdict:
    """What became of one round's description: agreed, or why not. `failure`: a reject class where there was no description to judge."""

    round: int
    agreed: bool
    reason: str
    probability: float | None = None
    failure: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """How far an artwork's description is, after any number of rounds. `verdicts`: one a round; what they took, in all."""

    verdicts: tuple[Verdict, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    @property
    def last(self) -> Verdict | None:
        return self.verdicts[-1] if self.verdicts else None

    def outcome(self, max_rounds: int) -> str:
        """'': the last description is kept; 'again': another round is due; else the reject class of what is set aside."""
        if self.last is None:
            return "again"
        if self.last.agreed:
            return ""
        if self.last.failure in _FINAL or len(self.verdicts) >= max_rounds:
            return self.last.failure or RejectClass.NOT_AGREED.value
        return "again"

    def text_after(self, round_: int) -> str:
        """Return the description as it was after a round; '' where there was none."""
        made = [one.texts for one in self.verdicts[:round_] if len(one.texts) == len(CRITIQUE_PARTS)]
        return described(made[-1]) if made else ""

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> State:
        return cls(**{**document, "verdicts": tuple(Verdict(**one) for one in document["verdicts"])})


# Nothing that another round would mend.
_FINAL = frozenset(kind.value for kind in (RejectClass.BUDGET, RejectClass.UNANSWERED))


@dataclass(frozen=True)
class Item:
    """An artwork in a round. `pixels`: by player's image size; `content`: of the picture's bytes."""

    artwork_id: str
    subject: Subject
    pixels: Mapping[int, np.ndarray]
    content: str
    state: State
    seed: int = 0  # another one where answers that are kept would only come again


@dataclass
class Describer:
    """Both players, and how they are asked."""

    generator: Asker
    judge: Asker
    templates: Templates
    threshold: float

    def round(self, items: Sequence[Item]) -> list[State]:
        """Return each artwork's state after one more round."""
        drafts = self._generate(items)
        judged = [number for number, draft in enumerate(drafts) if not draft.failure]
        verdicts = self._judge([items[number] for number in judged], [drafts[number].texts for number in judged])
        found = dict(zip(judged, verdicts, strict=True))
        return [_after(item.state, draft, found.get(number)) for number, (item, draft) in enumerate(zip(items, drafts, strict=True))]

    def _generate(self, items: Sequence[Item]) -> list[_Draft]:
        asked: list[tuple[int, str, Request]] = []
        for number, item in enumerate(items):
            last = item.state.last
            reason = last.reason if last and not last.failure else ""
            questions = generator_questions(self.templates, item.subject, reason, last.texts if last and reason else None)
            for name, question in questions.items():
                form: Form = "texts" if name == "whole" else "text"
                pixels = item.pixels[self.generator.player.image_size]
                seed = item.seed + len(item.state.verdicts)
                asked.append((number, name, Request(item.artwork_id, question, pixels, item.content, form, seed)))
        drafts = [_Draft() for _ in items]
        for (number, name, _), answer in zip(asked, self.generator.ask([request for _, _, request in asked]), strict=True):
            drafts[number] = drafts[number].with_answer(name, answer, self.generator)
        return [draft.checked(item.subject.language) for draft, item in zip(drafts, items, strict=True)]

    def _judge(self, items: Sequence[Item], texts: Sequence[Mapping[str, str]]) -> list[tuple[Verdict, _Draft]]:
        size = self.judge.player.image_size
        requests = [
            Request(
                item.artwork_id,
                judge_question(self.templates.judge, item.subject, text),
                item.pixels[size],
                item.content,
                "verdict",
                item.seed,
            )
            for item, text in zip(items, texts, strict=True)
        ]
        answers = self.judge.ask(requests) if requests else []
        return [
            (self._verdict(item, text, answer), _Draft().counted(answer, self.judge))
            for item, text, answer in zip(items, texts, answers, strict=True)
        ]

    def _verdict(self, item: Item, texts: Mapping[str, str], answer: Answer | Reject) -> Verdict:
        number = len(item.state.verdicts) + 1
        if failed := _failure(answer):
            return Verdict(number, False, failed[1], failure=failed[0].value, texts=texts)
        assert isinstance(answer, Answer)
        said = parse_verdict(answer.text)
        if said is None and answer.probability is None:
            return Verdict(number, False, f"the judge answered {_raw(answer)}", failure=RejectClass.UNPARSED.value, texts=texts)
        probability = answer.probability if answer.probability is not None else float(bool(said and said[0]))
        agreed = probability >= self.threshold
        return Verdict(number, agreed, said[1] if said and said[1] else "" if agreed else "it does not fit", probability, texts=texts)


@dataclass(frozen=True)
class _Draft:
    """A description on its way, or why there is none; and what it took."""

    texts: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""
    why: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def counted(self, answer: Answer | Reject, asker: Asker) -> _Draft:
        if isinstance(answer, Reject):
            return self
        return replace(
            self,
            input_tokens=self.input_tokens + answer.input_tokens,
            output_tokens=self.output_tokens + answer.output_tokens,
            cost=self.cost + asker.cost_of(answer),
        )

    def with_answer(self, name: str, answer: Answer | Reject, asker: Asker) -> _Draft:
        draft = self.counted(answer, asker)
        if self.failure:
            return draft
        if failed := _failure(answer):
            return replace(draft, failure=failed[0].value, why=failed[1])
        assert isinstance(answer, Answer)
        texts = parse_texts(answer.text) if name == "whole" else {name: " ".join(answer.text.split())}
        if not texts or not all(texts.values()):
            return replace(draft, failure=RejectClass.UNPARSED.value, why=f"the generator answered {_raw(answer)}")
        return replace(draft, texts={**draft.texts, **texts})

    def checked(self, language: str) -> _Draft:
        if not self.failure and not is_in_language(" ".join(self.texts[part] for part in CRITIQUE_PARTS), language):
            return replace(self, failure=RejectClass.WRONG_LANGUAGE.value, why=f"the texts are not in {language}")
        return self


def _failure(answer: Answer | Reject) -> tuple[RejectClass, str] | None:
    if isinstance(answer, Reject):
        return answer.reject_class, answer.message
    if answer.is_refused:
        return RejectClass.REFUSED, _raw(answer)
    if answer.is_cut_off:
        return RejectClass.CUT_OFF, f"more than {answer.output_tokens} tokens: {_raw(answer)}"
    return None


def _raw(answer: Answer) -> str:
    return repr(answer.text[:_RAW_CHARACTERS])


def _after(state: State, draft: _Draft, found: tuple[Verdict, _Draft] | None) -> State:
    verdict, judging = found or (Verdict(len(state.verdicts) + 1, False, draft.why, failure=draft.failure, texts=draft.texts), _Draft())
    return State(
        (*state.verdicts, verdict),
        state.input_tokens + draft.input_tokens + judging.input_tokens,
        state.output_tokens + draft.output_tokens + judging.output_tokens,
        state.cost + draft.cost + judging.cost,
    )
