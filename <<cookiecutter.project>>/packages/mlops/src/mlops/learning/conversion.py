"""How does a fitted pipeline become an ONNX graph? skl2onnx converts it; trees, gaps and texts are converted here.

What skl2onnx makes of trees and of missing values holds numbers in single precision. A threshold lies between two
values of the training data, so rounding it moves training rows to another leaf. The converters here keep double
precision throughout. Nothing that this module makes is believed: `mlops.learning.parity` compares it with the estimator
first.

The graph takes `numbers` (n, p) float64 and `texts` (n, q), and gives `answer` (n, k) float64. It answers NaN where the
estimator would refuse a number that grew too large on its way.
"""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import get_tags

from mlops.learning.frames import NUMBERS
from serve.onnx import ANSWER, GAP, NUMBERS_IN, TEXTS_IN

OPSETS = {"": 21, "ai.onnx.ml": 3}
TREE_OPSET = 5
"""The first with a tree in double precision; skl2onnx stops before it, so the graph is said to be of it afterwards."""
FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
TREES = (*FORESTS, DecisionTreeClassifier, DecisionTreeRegressor)
BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
CHECK = "too_large"
"""The name of the node that gives NaN where a number is too large, and 0 elsewhere."""


class NotConverted(Exception):
    """This pipeline has no graph, and why."""


def graph(estimator: Any, features: Sequence[Mapping[str, str]], *, task: str) -> bytes:
    """The ONNX graph of a fitted estimator; raises `NotConverted` with the reason in a few words.

    `features` is the list of name and dtype in a manifest.
    """
    if task == "classification" and not hasattr(estimator, "predict_proba"):
        raise NotConverted("the estimator gives no probabilities")
    whole = _checked(_by_place(estimator, [one["name"] for one in features]))
    apart = isinstance(_first(estimator), ColumnTransformer)
    if not apart and any(one["dtype"] not in NUMBERS for one in features):
        raise NotConverted("texts reach a step that is no ColumnTransformer")
    inputs: list[Any] = [(NUMBERS_IN, DoubleTensorType([None, len(features)]))]
    if apart:
        inputs = [
            (f"c{number}", (DoubleTensorType if one["dtype"] in NUMBERS else StringTensorType)([None, 1]))
            for number, one in enumerate(features)
        ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = convert_sklearn(
                whole,
                "model",
                inputs,
                target_opset=OPSETS,
                options={id(whole): {"zipmap": False}} if task == "classification" else None,
                custom_conversion_functions={kind: convert for kind, (convert, _) in CONVERTERS.items()},
                custom_shape_calculators={kind: shape for kind, (_, shape) in CONVERTERS.items()},
            )
        for one in found.opset_import:
            one.version = TREE_OPSET if one.domain == "ai.onnx.ml" else one.version
        if apart:
            _join(found.graph, features)
        _answer(found.graph)
        _prune(found.graph)
        onnx.checker.check_model(found)
    except NotConverted:
        raise
    except Exception as error:  # A converter may fail in any way; each says the same.
        says = " ".join(str(error).split())[:150]
        raise NotConverted(f"{type(error).__name__}: {says}" if says else type(error).__name__) from None
    data: bytes = found.SerializeToString(deterministic=True)
    return data


# The pipeline, before it is converted.


class Check(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Stands before the last estimator and changes nothing; its converter marks what that estimator would refuse."""

    def __init__(self, kind: str = "finite") -> None:
        """`finite`: neither NaN nor infinity; `number`: no infinity; `single`: none in single precision."""
        self.kind = kind

    def fit(self, X: Any, y: Any = None) -> "Check":
        """Nothing is learnt."""
        return self

    def transform(self, X: Any) -> Any:
        """The same."""
        return X


def _checked(estimator: Any) -> Any:
    """The pipeline with a `Check` before its last estimator."""
    if isinstance(estimator, Pipeline):
        return Pipeline([*estimator.steps[:-1], ("last", _checked(estimator.steps[-1][1]))])
    if isinstance(estimator, BOOSTING):
        return estimator  # It takes any number.
    kind = "single" if isinstance(estimator, TREES) else "number" if get_tags(estimator).input_tags.allow_nan else ""
    return Pipeline([("check", Check(kind or "finite")), ("estimate", estimator)])


def _by_place(estimator: Any, names: list[str]) -> Any:
    """The same pipeline with columns chosen by place: names may hold what a graph cannot."""
    if isinstance(estimator, Pipeline):
        steps = [(f"s{number}", _by_place(step, names)) for number, (_, step) in enumerate(estimator.steps)]
        return Pipeline(steps)
    if not isinstance(estimator, ColumnTransformer):
        return estimator
    if list(estimator.feature_names_in_) != names:
        raise NotConverted("a ColumnTransformer stands behind other steps")
    found = copy.copy(estimator)
    found.transformers_ = [
        (f"t{number}", step, _places(chosen, names)) for number, (_, step, chosen) in enumerate(estimator.transformers_)
    ]
    return found


def _first(estimator: Any) -> Any:
    """The step that gets the columns."""
    return _first(estimator.steps[0][1]) if isinstance(estimator, Pipeline) else estimator


def _places(chosen: Any, names: list[str]) -> list[int]:
    if isinstance(chosen, slice):
        if any(isinstance(end, str) for end in (chosen.start, chosen.stop)):
            raise NotConverted("columns are chosen by a slice of names")
        return list(range(len(names)))[chosen]
    if isinstance(chosen, str) or np.isscalar(chosen):
        raise NotConverted("one column is chosen as a vector")
    found = list(chosen)
    if found and all(isinstance(one, bool | np.bool_) for one in found):
        return [place for place, taken in enumerate(found) if taken]
    return [names.index(one) if isinstance(one, str) else int(one) for one in found]


# The converters: each adds nodes for one fitted step; `at` gives names, `add` a node.


class _Nodes:
    """Adds the nodes of one operator."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.scope, self.operator, self.container = scope, operator, container

    def name(self, what: str) -> str:
        return str(self.scope.get_unique_variable_name(what))

    def constant(self, values: Any, kind: int = TensorProto.DOUBLE) -> str:
        array, name = np.asarray(values), self.name("constant")
        self.container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str = "", domain: str = "", **attributes: Any) -> str:
        output = output or self.name(kind.lower())
        named = attributes.pop("named", "") or self.scope.get_unique_operator_name(kind)
        version = OPSETS[domain]
        self.container.add_node(
            kind, list(inputs), [output], op_domain=domain, op_version=version, name=named, **attributes
        )
        return output

    def matrix(self, kind: int = TensorProto.DOUBLE) -> str:
        """All inputs side by side, as one matrix of numbers."""
        names = [one.full_name for one in self.operator.inputs]
        joined = names[0] if len(names) == 1 else self.add("Concat", names, axis=1)
        double = all(isinstance(one.type, DoubleTensorType) for one in self.operator.inputs)
        return joined if double and kind == TensorProto.DOUBLE else self.add("Cast", [joined], to=kind)

    @property
    def out(self) -> list[str]:
        return [one.full_name for one in self.operator.outputs]


def _convert_check(scope: Any, operator: Any, container: Any) -> None:
    nodes = _Nodes(scope, operator, container)
    matrix, kind = nodes.matrix(), operator.raw_operator.kind
    if kind == "finite":
        nodes.add("Sub", [matrix, matrix], named=CHECK)
    else:
        looked = nodes.add("Cast", [matrix], to=TensorProto.FLOAT) if kind == "single" else matrix
        nan, zero = nodes.constant([np.nan]), nodes.constant([0.0])
        nodes.add("Where", [nodes.add("IsInf", [looked]), nan, zero], named=CHECK)
    nodes.add("Identity", [matrix], nodes.out[0])


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    nodes, step = _Nodes(scope, operator, container), operator.raw_operator
    filling = np.asarray(step.statistics_)
    nan = isinstance(step.missing_values, float) and np.isnan(step.missing_values)
    if not nan or step.indicator_ is not None or filling.dtype.kind != "f" or np.isnan(filling).any():
        raise NotConverted("SimpleImputer with these settings")
    matrix = nodes.matrix()
    nodes.add("Where", [nodes.add("IsNaN", [matrix]), nodes.constant([filling]), matrix], nodes.out[0])


def _convert_indicators(scope: Any, operator: Any, container: Any) -> None:
    nodes, step = _Nodes(scope, operator, container), operator.raw_operator
    known = [_texts(values) for values in step.categories_]
    if step.handle_unknown != "ignore" or step.drop_idx_ is not None or step._infrequent_enabled:
        raise NotConverted("OneHotEncoder with these settings")
    if any(not isinstance(one.type, StringTensorType) for one in operator.inputs):
        raise NotConverted("OneHotEncoder of numbers")
    names = [one.full_name for one in operator.inputs]
    joined = names[0] if len(names) == 1 else nodes.add("Concat", names, axis=1)
    blocks = []
    for place, categories in enumerate(known):
        column = nodes.add("Gather", [joined, nodes.constant([place], TensorProto.INT64)], axis=1)
        # A whole number for each text, -1 for one that is not known; then ones where it is the category's own.
        code = nodes.add(
            "LabelEncoder",
            [column],
            domain="ai.onnx.ml",
            keys_strings=categories,
            values_int64s=list(range(len(categories))),
            default_int64=-1,
        )
        own = nodes.constant([list(range(len(categories)))], TensorProto.INT64)
        blocks.append(nodes.add("Cast", [nodes.add("Equal", [code, own])], to=TensorProto.DOUBLE))
    nodes.add("Concat", blocks, nodes.out[0], axis=1)


def _texts(categories: Any) -> list[str]:
    found = [GAP if value is None or value != value else value for value in np.asarray(categories).tolist()]
    if any(not isinstance(one, str) for one in found):
        raise NotConverted("OneHotEncoder of values that are no texts")
    return found


def _convert_trees(scope: Any, operator: Any, container: Any) -> None:
    """Trees of scikit-learn compare a single-precision value with a double-precision threshold."""
    nodes, model = _Nodes(scope, operator, container), operator.raw_operator
    if model.n_outputs_ != 1:
        raise NotConverted("several targets")
    trees = [one.tree_ for one in model.estimators_] if isinstance(model, FORESTS) else [model.tree_]
    classes = len(model.classes_) if hasattr(model, "classes_") else 0
    # One class less has to be asked for: all together are 1.
    targets = 1 if classes == 2 else max(classes, 1)
    roots = []
    for target in range(targets):
        for tree in trees:
            values = tree.value[:, 0, target + 1 if classes == 2 else target] / len(trees)
            roots.append(_Tree(_of_scikit(tree), values, target))
    single = nodes.add("Cast", [nodes.matrix()], to=TensorProto.FLOAT)
    matrix = nodes.add("Cast", [single], to=TensorProto.DOUBLE)
    raw = _ensemble(nodes, matrix, roots, targets)
    if classes == 2:
        one = nodes.constant([1.0])
        raw = nodes.add("Concat", [nodes.add("Sub", [one, raw]), raw], axis=1)
    nodes.add("Identity", [raw], nodes.out[-1])
    if classes:
        _label(nodes, nodes.out[0], raw)


def _convert_boosting(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = _Nodes(scope, operator, container), operator.raw_operator
    if model._preprocessor is not None or model.is_categorical_ is not None:
        raise NotConverted("categorical features inside the boosting")
    start = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1, -1)
    width = start.shape[1]
    roots = [
        _Tree(one.nodes, one.nodes["value"], target)
        for iteration in model._predictors
        for target, one in enumerate(iteration)
    ]
    raw = nodes.add("Add", [_ensemble(nodes, nodes.matrix(), roots, width), nodes.constant(start)])
    if hasattr(model, "classes_"):
        if width == 1:
            yes, one = nodes.add("Sigmoid", [raw]), nodes.constant([1.0])
            raw = nodes.add("Concat", [nodes.add("Sub", [one, yes]), yes], axis=1)
        else:
            raw = nodes.add("Softmax", [raw], axis=1)
        _label(nodes, nodes.out[0], raw)
    else:
        link = type(model._loss.link).__name__
        if link not in ("IdentityLink", "LogLink"):
            raise NotConverted(f"the link {link}")
        raw = nodes.add("Exp", [raw]) if link == "LogLink" else raw
    nodes.add("Identity", [raw], nodes.out[-1])


def _label(nodes: _Nodes, output: str, probabilities: str) -> None:
    """What a classifier of skl2onnx gives first; nothing asks for it."""
    nodes.add("ArgMax", [probabilities], output, axis=1, keepdims=0)


class _Tree:
    """One tree: its nodes, the value of each, and the column of the answer that it adds to."""

    def __init__(self, nodes: Any, values: Any, target: int) -> None:
        self.nodes, self.values, self.target = nodes, values, target


def _of_scikit(tree: Any) -> Any:
    """The nodes of a tree of scikit-learn under the names that its boosting has for them."""
    found = tree.__getstate__()["nodes"]
    names = {
        "left": "left_child",
        "right": "right_child",
        "feature_idx": "feature",
        "num_threshold": "threshold",
        "missing_go_to_left": "missing_go_to_left",
    }
    return {name: found[theirs] for name, theirs in names.items()} | {"is_leaf": found["left_child"] < 0}


def _ensemble(nodes: _Nodes, matrix: str, trees: Iterable[_Tree], width: int) -> str:
    """One node with all trees; inner nodes and leaves are numbered apart, over all trees."""
    inner: dict[str, list[Any]] = {"feature": [], "split": [], "left": [], "right": [], "missing": []}
    ends: dict[str, list[int]] = {"left": [], "right": []}
    weights: list[float] = []
    targets: list[int] = []
    roots: list[int] = []
    for tree in trees:
        is_leaf = np.asarray(tree.nodes["is_leaf"], dtype=bool)
        first, first_leaf = len(inner["feature"]), len(weights)
        roots.append(first)
        if is_leaf[0]:  # A leaf alone is a question whose answers are the same.
            _ask(inner, ends, feature=0, split=0.0, left=(True, first_leaf), right=(True, first_leaf), missing=0)
            weights.append(float(tree.values[0]))
            targets.append(tree.target)
            continue
        # The order of numbering is the order of the nodes, each kind by itself.
        place = np.where(is_leaf, first_leaf + np.cumsum(is_leaf) - 1, first + np.cumsum(~is_leaf) - 1)
        for number in np.flatnonzero(~is_leaf):
            left, right = int(tree.nodes["left"][number]), int(tree.nodes["right"][number])
            _ask(
                inner,
                ends,
                feature=int(tree.nodes["feature_idx"][number]),
                split=float(tree.nodes["num_threshold"][number]),
                left=(bool(is_leaf[left]), int(place[left])),
                right=(bool(is_leaf[right]), int(place[right])),
                missing=int(tree.nodes["missing_go_to_left"][number]),
            )
        leaves = np.flatnonzero(is_leaf)
        weights += np.asarray(tree.values, dtype=np.float64)[leaves].tolist()
        targets += [tree.target] * len(leaves)
    return nodes.add(
        "TreeEnsemble",
        [matrix],
        domain="ai.onnx.ml",
        n_targets=width,
        aggregate_function=1,
        post_transform=0,
        tree_roots=roots,
        nodes_featureids=inner["feature"],
        nodes_splits=_tensor(inner["split"], TensorProto.DOUBLE),
        nodes_modes=_tensor([0] * len(inner["feature"]), TensorProto.UINT8),
        nodes_truenodeids=inner["left"],
        nodes_trueleafs=ends["left"],
        nodes_falsenodeids=inner["right"],
        nodes_falseleafs=ends["right"],
        nodes_missing_value_tracks_true=inner["missing"],
        leaf_targetids=targets,
        leaf_weights=_tensor(weights, TensorProto.DOUBLE),
    )


def _ask(
    inner: dict[str, list[Any]],
    ends: dict[str, list[int]],
    *,
    feature: int,
    split: float,
    left: tuple[bool, int],
    right: tuple[bool, int],
    missing: int,
) -> None:
    """Add one question; an answer is (whether it is a leaf, its number)."""
    inner["feature"].append(feature)
    inner["split"].append(split)
    inner["missing"].append(missing)
    for side, (is_leaf, number) in (("left", left), ("right", right)):
        inner[side].append(number)
        ends[side].append(int(is_leaf))


def _tensor(values: list[Any], kind: int) -> Any:
    return helper.make_tensor("values", kind, [len(values)], values)


def _same_shape(operator: Any) -> None:
    width = sum(one.type.shape[1] for one in operator.inputs)
    operator.outputs[0].type = DoubleTensorType([None, width])


def _indicator_shape(operator: Any) -> None:
    width = sum(len(one) for one in operator.raw_operator.categories_)
    operator.outputs[0].type = DoubleTensorType([None, width])


def _answer_shape(operator: Any) -> None:
    model = operator.raw_operator
    operator.outputs[-1].type = DoubleTensorType([None, len(getattr(model, "classes_", [0]))])


CONVERTERS: dict[Any, tuple[Any, Any]] = {
    Check: (_convert_check, _same_shape),
    SimpleImputer: (_convert_imputer, _same_shape),
    OneHotEncoder: (_convert_indicators, _indicator_shape),
    **dict.fromkeys(TREES, (_convert_trees, _answer_shape)),
    **dict.fromkeys(BOOSTING, (_convert_boosting, _answer_shape)),
}


# The graph, after it was converted.


def _join(graph: Any, features: Sequence[Mapping[str, str]]) -> None:
    """One input for all numbers and one for all texts, in place of one for each column.

    Columns that are put side by side at once are taken out of it at once: a node costs more than its arithmetic.
    """
    homes: dict[str, tuple[str, int]] = {}
    width = {NUMBERS_IN: 0, TEXTS_IN: 0}
    for number, one in enumerate(features):
        home = NUMBERS_IN if one["dtype"] in NUMBERS else TEXTS_IN
        homes[f"c{number}"] = home, width[home]
        width[home] += 1
    del graph.input[:]
    for name, kind in ((NUMBERS_IN, TensorProto.DOUBLE), (TEXTS_IN, TensorProto.STRING)):
        if width[name]:
            graph.input.append(helper.make_tensor_value_info(name, kind, [None, width[name]]))
    picks: list[Any] = []

    def picked(names: Sequence[str], output: str) -> Any:
        home = homes[names[0]][0]
        places = [homes[name][1] for name in names]
        if places == list(range(width[home])):
            return helper.make_node("Identity", [home], [output], name=f"all_{output}")
        at = numpy_helper.from_array(np.array(places, dtype=np.int64), f"{output}_places")
        graph.initializer.append(at)
        return helper.make_node("Gather", [home, at.name], [output], axis=1, name=f"pick_{output}")

    for place, node in enumerate(list(graph.node)):
        sides = {homes[name][0] for name in node.input if name in homes}
        if node.op_type == "Concat" and len(sides) == 1 and all(name in homes for name in node.input):
            graph.node[place].CopyFrom(picked(list(node.input), node.output[0]))
    used = {name for node in graph.node for name in node.input}
    picks = [picked([name], name) for name in homes if name in used]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*picks, *rest])


def _answer(graph: Any) -> None:
    """The last output as `answer` (n, k) float64, NaN in the rows that the estimator would refuse."""
    found = graph.output[-1].name
    before = found
    if graph.output[-1].type.tensor_type.elem_type != TensorProto.DOUBLE:
        before = "answer_double"
        graph.node.append(helper.make_node("Cast", [found], [before], to=TensorProto.DOUBLE, name=before))
    checks = [node.output[0] for node in graph.node if node.name == CHECK]
    if checks:
        axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "check_axes")
        graph.initializer.append(axes)
        graph.node.append(
            helper.make_node("ReduceSum", [checks[0], axes.name], ["checked"], keepdims=1, name="checked")
        )
        graph.node.append(helper.make_node("Add", [before, "checked"], [ANSWER], name=ANSWER))
    else:
        graph.node.append(helper.make_node("Identity", [before], [ANSWER], name=ANSWER))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(ANSWER, TensorProto.DOUBLE, [None, None]))


def _prune(graph: Any) -> None:
    """Leave out what nothing asks for, such as the labels; the nodes are in the order in which they run."""
    needed, kept = {ANSWER}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [one for one in graph.initializer if one.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]
