"""XGBoost models as JSON, written by hand."""

from __future__ import annotations

from typing import Any

NAMES = ("a", "b", "c", "d")


def small_model(**changes: Any) -> dict[str, Any]:
    """One split of feature 0 at 0.5; changes of the tree's fields, None removes one."""
    tree: dict[str, Any] = {
        "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
        "left_children": [1, -1, -1],
        "right_children": [2, -1, -1],
        "split_indices": [0, 0, 0],
        "split_conditions": [0.5, -1.0, 2.0],
        "split_type": [0, 0, 0],
        "default_left": [1, 0, 0],
        "loss_changes": [3.0, 0.0, 0.0],
        "sum_hessian": [4.0, 3.0, 1.0],
    }
    tree |= changes
    return model_of([{k: v for k, v in tree.items() if v is not None}])


def model_of(trees: list[Any], names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """A model of these trees."""
    return {
        "learner": {
            "attributes": {},
            "feature_names": list(names),
            "feature_types": ["float"] * len(names),
            "gradient_booster": {
                "name": "gbtree",
                "model": {
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
                    "tree_info": [0] * len(trees),
                    "trees": trees,
                },
            },
            "learner_model_param": {
                "base_score": "5E-1",
                "num_class": "0",
                "num_feature": str(len(names)),
            },
            "objective": {"name": "binary:logistic"},
        },
        "version": [3, 2, 0],
    }
