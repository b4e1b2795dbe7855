"""What all settings share: a section refuses what it does not know, and does not change."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from artquant.config.values import meant


def checked_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("takes letters, digits, dots, dashes and underscores")
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        return meant(value, cls.model_fields[info.field_name or ""].annotation)


SpecT = TypeVar("SpecT", bound=Section)


def resolved(kind: type[SpecT], spec: Section, **known: Any) -> SpecT:
    """Convert the spec to the kind in which the settings in `known` are no longer open."""
    return kind(**{**dict(spec), **known})
