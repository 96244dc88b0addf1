"""Interactions: what was said and done, and what still waits for an answer."""

from __future__ import annotations

from typing import ClassVar

from crm_core.errors import InvalidValue
from crm_core.records import TOPICS, Interaction
from crm_core.services.records import RecordService, retried


class InteractionService(RecordService[Interaction]):
    """Interactions; one logged without a time happened now."""

    before_hook: ClassVar[str] = "before_interactions_change"

    def _completed(self, record: Interaction) -> Interaction:
        if record.occurred_at is not None:
            return record
        return record.evolve(occurred_at=self._session.clock.now())

    def _normalised(self, record: Interaction, before: Interaction | None) -> Interaction:
        known = self._session.topics
        if record.topic is not None and record.topic not in known:
            expected = ", ".join([*TOPICS, *sorted(known - set(TOPICS))])
            raise InvalidValue(
                f"topic: {record.topic!r} is not one of: {expected}", field="topic", value=record.topic, rule="choices"
            )
        if record.duration is not None and record.duration < 0:
            raise InvalidValue("duration: a call cannot last less than no time", field="duration", rule="not_negative")
        return record

    @retried
    def answer(self, interaction: Interaction, reply: Interaction) -> Interaction:
        """Store a reply and mark what it answers as answered; returns the reply."""
        with self._session.work.transaction("answer interaction"):
            stored = self.add(reply.evolve(in_reply_to_id=interaction.id, customer_id=interaction.customer_id))
            self.edit(interaction.evolve(needs_answer=False, answered_at=stored.occurred_at))
        return stored
