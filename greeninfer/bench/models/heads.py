"""What stands on top of features and turns them into labels: classifiers that learn from a few hundred rows."""

from __future__ import annotations

from typing import Any, Literal

from greeninfer.bench._optional import need

Head = Literal["logistic", "boosting", "xgboost", "label-names"]


def make_head(head: Head, *, penalty: float, max_iter: int, threads: int, seed: int) -> Any:
    """Return an untrained classifier with ``fit`` and ``predict_proba`` for labels 0, 1, 2 ...

    All parameters that are not named here are their library's defaults, as in the study behind this package. Boosting
    is ``GradientBoostingClassifier``: it takes sparse rows as they are, while ``HistGradientBoostingClassifier`` takes
    dense ones only and wants 20 rows in each leaf, of 200 in all.

    Args:
        head: which.
        penalty: inverse strength of the regularisation, scikit-learn's ``C``; of the logistic regression.
        max_iter: steps after which the logistic regression gives up.
        threads: of xgboost.
        seed: of whatever is drawn.

    Raises:
        ImportError: if its package is not installed.
    """
    if head == "logistic":
        return need("sklearn.linear_model").LogisticRegression(C=penalty, max_iter=max_iter)
    if head == "boosting":
        return need("sklearn.ensemble").GradientBoostingClassifier(random_state=seed)
    if head == "xgboost":
        return need("xgboost", "xgboost-cpu  # or xgboost, which brings CUDA libraries").XGBClassifier(
            n_jobs=threads, random_state=seed
        )
    raise ValueError(f"head={head!r} learns nothing; allowed: logistic, boosting, xgboost")
