"""How is a version asked by ONNX Runtime? The graph that was proven at export, in one thread, for a few rows at a time.

The only module that imports ONNX Runtime, which need not be installed where no version asks for it.
"""

from typing import Any

import numpy as np

from serve.errors import Refusal
from serve.plans import Plan
from serve.prediction import Floats
from serve.rows import Columns, Rows

NUMBERS_IN, TEXTS_IN, ANSWER = "numbers", "texts", "answer"
GAP = "\U0010ffff"
"""Stands for a missing text in a graph, which knows none; it is no character, so a text that is this is refused."""
OPTIONS = {
    # One row is too little work to share, and a thread that spins takes the processor from the event loop.
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    # Weights are read once for a request: a second copy in another order is memory without a use.
    "session.disable_prepacking": "1",
}


def plan(graph: bytes, columns: Columns, task: str, *, model: str) -> Plan:
    """A plan that asks ONNX Runtime; refuses in a sentence where that is not installed, or cannot read the graph."""
    session = _session(graph, model)
    asked = {one.name for one in session.get_inputs()}
    run, outputs = session.run, [ANSWER]

    def answer(rows: Rows) -> Floats:
        given: dict[str, Any] = {}
        if NUMBERS_IN in asked:
            given[NUMBERS_IN] = rows.numbers
        if TEXTS_IN in asked:
            given[TEXTS_IN] = _texts(rows.texts)
        found: Floats = run(outputs, given)[0]
        return found if task == "classification" else found[:, 0]

    return answer


def _texts(texts: Any) -> Any:
    if (texts == GAP).any():
        raise ValueError("a text that stands for a missing one")
    return np.where(texts == np.array(None), GAP, texts)


def _session(graph: bytes, model: str) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise Refusal(
            f"{model}: this version serves by ONNX Runtime, which is not installed.", do="Install serve[onnx]."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    for name, value in OPTIONS.items():
        options.add_session_config_entry(name, value)
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        says = " ".join(str(error).split())[:200]
        raise Refusal(
            f"{model}: ONNX Runtime cannot read its graph: {says}",
            do="Install the version of onnxruntime that the manifest names, or train again.",
        ) from None
