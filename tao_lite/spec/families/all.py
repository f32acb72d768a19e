"""FAMILIES: every family that is converted, by its name."""

from collections.abc import Mapping

from tao_lite.spec.families import multitask, openmmlab, pyt, tf2
from tao_lite.spec.families.table import Family

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (tf2.FAMILY, pyt.FAMILY, openmmlab.FAMILY, multitask.FAMILY)
}
