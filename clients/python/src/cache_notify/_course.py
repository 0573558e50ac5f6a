"""What a course of steps is: see _steps.py."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")
Step = Callable[[], Any]
Course = Generator[Step, Any, T]
