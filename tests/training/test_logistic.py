"""Logistic regression: the optimum that scikit-learn finds, and no image judged by its own label."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from tao_lite.training.logistic import PENALTY, fitted, out_of_sample


def test_the_optimum_is_scikit_learns() -> None:
    torch.manual_seed(0)
    labels = torch.arange(120) % 3
    features = torch.randn(120, 8) + labels[:, None]
    scaled = (features - features.mean(0)) / features.std(0, correction=0) / 8**0.5
    reference = LogisticRegression(C=1 / (PENALTY * 120), tol=1e-8, max_iter=1000).fit(scaled.numpy(), labels.numpy())
    found = fitted(features, labels, 3)(features)
    np.testing.assert_allclose(found.numpy(), reference.predict_proba(scaled.numpy()), atol=2e-3)


def test_no_image_is_judged_by_its_own_label() -> None:
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    features, folds = torch.randn(60, 4) + labels[:, None], torch.arange(60) // 3 % 5
    before = out_of_sample(features, labels, folds, 3)
    changed = torch.where(folds == 2, (labels + 1) % 3, labels)
    after = out_of_sample(features, changed, folds, 3)
    assert torch.equal(before[folds == 2], after[folds == 2])
    assert not torch.equal(before[folds == 1], after[folds == 1])
