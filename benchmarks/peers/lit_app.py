"""The same with LitServe: one process that listens, one that predicts."""

import os
from typing import Any

import litserve


class Predictor(litserve.LitAPI):
    """Loads the estimator in the process that predicts."""

    def setup(self, device: str) -> None:
        """Once, at the start."""
        from estimator import probabilities

        self.probabilities = probabilities

    def decode_request(self, request: dict[str, Any]) -> list[dict[str, float]]:
        """The rows of a request."""
        return request["rows"]

    def predict(self, x: list[dict[str, float]]) -> list[Any]:
        """The probabilities of each row."""
        return self.probabilities(x)

    def encode_response(self, output: list[Any]) -> dict[str, list[Any]]:
        """The answer."""
        return {"probabilities": output}


if __name__ == "__main__":
    server = litserve.LitServer(Predictor(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="error",
    )
