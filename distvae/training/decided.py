"""What a run decided for itself where its settings leave it open."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decided:
    """What was asked for, what is taken, and why."""

    asked: str
    taken: str
    why: str = ""
    """What ``auto`` found; empty where it was asked for by name."""

    def recorded(self) -> dict[str, str]:
        """As it stands in config.json."""
        return {"asked": self.asked, "taken": self.taken, "why": self.why}

    def __str__(self) -> str:
        return f"{self.taken} ({self.asked}: {self.why})" if self.why else self.taken
