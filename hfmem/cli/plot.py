"""``--plot FILE``: a picture of the answer, beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct, field

from hfmem.answer import Estimate, Failure
from hfmem.cli.delivery import Delivery
from hfmem.cli.output import check_target, replacing, screen_of_stdout, to_stdout
from hfmem.errors import UsageError


class Plot(Struct):
    """Where the picture goes, and the estimate that it is of."""

    target: Path | None
    """None is the terminal."""
    seen: list[Estimate] = field(default_factory=list)

    @classmethod
    def of(cls, given: str, *, delivery: Delivery) -> Plot:
        """What the option says. Raises UsageError before any work is done."""
        from hfmem.report import plot_image

        if not delivery.single:
            raise UsageError("--plot takes one model.", hint="Ask for each model by itself.")
        if given == "-":
            if delivery.format != "table" or delivery.target is not None:
                raise UsageError(
                    "--plot - draws in the terminal, below the table.",
                    hint="Beside other formats write to a file: --plot FILE.svg",
                )
            return cls(target=None)
        target = Path(given).expanduser()
        if target.suffix.lower() not in plot_image.SUFFIXES:
            raise UsageError(
                f"The suffix {target.suffix!r:.20} is no picture that --plot writes.",
                hint="Write to FILE.svg or FILE.png, or draw in the terminal: --plot -",
            )
        check_target(target)
        plot_image.require()
        return cls(target=target)

    def watch(self, answers: Iterable[Estimate | Failure]) -> Iterator[Estimate | Failure]:
        """The answers as they come, remembered."""
        for answer in answers:
            if isinstance(answer, Estimate):
                self.seen.append(answer)
            yield answer

    def draw(self) -> None:
        """Write the picture, where there was an answer. Raises UsageError."""
        from hfmem.report import plot_image, plot_text

        for estimate in self.seen:
            if self.target is None:
                to_stdout("\n" + plot_text.draw(estimate, screen_of_stdout()))
                continue
            with replacing(self.target) as draft:
                plot_image.write(draft, estimate, suffix=self.target.suffix.lower())
