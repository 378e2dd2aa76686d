"""A minimal FastAPI app: one route, and nothing that a service needs beside it."""

from estimator import probabilities
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Asked(BaseModel):
    """Rows of numbers."""

    rows: list[dict[str, float]]


@app.post("/predict")
def predict(asked: Asked) -> dict[str, list[list[float]]]:
    """The probabilities of each row."""
    return {"probabilities": probabilities(asked.rows)}
