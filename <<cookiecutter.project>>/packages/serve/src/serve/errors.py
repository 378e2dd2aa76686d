"""The two ways to say no: `Refusal` to the person who starts the service, `Refused` to a client."""


class Refusal(Exception):
    """A version or a setting that a person must change, in one or two lines: what happened, and what to do."""

    def __init__(self, what: str, *, do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.do = do

    def __str__(self) -> str:
        return f"{self.what}\n  {self.do}" if self.do else self.what


class Refused(Exception):
    """A request that is not answered: the status, a sentence that repeats nothing of the input, and headers."""

    def __init__(self, status: int, says: str, **headers: str) -> None:
        super().__init__(says)
        self.status = status
        self.says = says
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
