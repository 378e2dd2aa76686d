"""The one way `mlops` refuses: what happened, to which model, and what to do."""


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
