"""The people at work: users and teams."""

from __future__ import annotations

from crm_core.errors import InvalidValue
from crm_core.records import Team, User
from crm_core.services.records import RecordService
from crm_core.values import email_key


class UserService(RecordService[User]):
    """Users, told apart by their e-mail where they have one."""

    def _normalised(self, record: User, before: User | None) -> User:
        if record.manager_id and record.manager_id == record.id:
            raise InvalidValue("manager_id: nobody manages themselves", field="manager_id", rule="not_self")
        key = None if record.email is None else email_key(record.email)
        return record if record.email == key else record.evolve(email=key)


class TeamService(RecordService[Team]):
    """Teams."""
