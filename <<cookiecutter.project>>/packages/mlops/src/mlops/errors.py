"""The one way `mlops` refuses: what happened, to which model, and what to do; and how a sentence counts."""


class Refusal(Exception):
    """Bad input or a state that a person must change.

    The command line prints it as one or two lines, without a traceback, and exits with `code`.
    """

    def __init__(self, what: str, *, do: str = "", code: int = 2) -> None:
        super().__init__(what)
        self.what = what
        self.do = do
        self.code = code

    def __str__(self) -> str:
        return f"{self.what}\n  {self.do}" if self.do else self.what


def counted(count: int, noun: str) -> str:
    """How many of something, as a sentence says it: `1 row`, `1,200 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
