"""The same as a BentoML service, with one worker."""

import bentoml


@bentoml.service(workers=1, metrics={"enabled": False})
class Predictor:
    """Loads the estimator when the worker starts."""

    def __init__(self) -> None:
        from estimator import probabilities

        self.probabilities = probabilities

    @bentoml.api
    def predict(self, rows: list[dict[str, float]]) -> dict[str, list[list[float]]]:
        """The probabilities of each row."""
        return {"probabilities": self.probabilities(rows)}
