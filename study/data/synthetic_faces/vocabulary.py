"""Name the splits, classes, kinds and mask words that the renderer knows; pure constants."""

from typing import Final, Literal

RENDERER_VERSION: Final[int] = 1

CLASSES: Final = ("not_wearing_mask", "wearing_mask")
ORDINARY_SPLITS: Final = ("train", "val", "test")
SHIFTED_SETS: Final = ("offcentre", "lowlight", "patterns")
ALL_SPLITS: Final[tuple[str, ...]] = ORDINARY_SPLITS + SHIFTED_SETS

Kind = Literal["masked", "unmasked", "nose", "chin"]
KINDS: Final[tuple[Kind, ...]] = ("masked", "unmasked", "nose", "chin")
# Eight images hold the mix; any prefix is balanced to within one block.
KIND_BLOCK: Final[tuple[Kind, ...]] = (
    "masked",
    "unmasked",
    "nose",
    "masked",
    "unmasked",
    "chin",
    "masked",
    "unmasked",
)

MaskKind = Literal["surgical", "n95", "kn95", "cloth"]
MaskMode = Literal["proper", "nose", "chin"]
MaskPattern = Literal["solid", "stripes", "dots", "blotch", "plaid", "floral"]
MASK_KINDS: Final[tuple[MaskKind, ...]] = ("surgical", "n95", "kn95", "cloth")
MASK_MODES: Final[tuple[MaskMode, ...]] = ("proper", "nose", "chin")
ORDINARY_PATTERNS: Final[tuple[MaskPattern, ...]] = ("solid", "stripes", "dots", "blotch")
HELD_OUT_PATTERNS: Final[tuple[MaskPattern, ...]] = ("plaid", "floral")

HairStyle = Literal["short", "long", "bald", "afro", "cap", "hijab", "bun"]
Glasses = Literal["none", "clear", "sun"]
Mouth = Literal["closed", "smile", "open"]
Backdrop = Literal["plain", "clouds", "shapes", "bands"]
DistractorKind = Literal["hand", "book", "scarf", "cup"]
HAIR_STYLES: Final[tuple[HairStyle, ...]] = ("short", "long", "bald", "afro", "cap", "hijab", "bun")
DISTRACTOR_KINDS: Final[tuple[DistractorKind, ...]] = ("hand", "book", "scarf", "cup")
BACKDROPS: Final[tuple[Backdrop, ...]] = ("plain", "clouds", "shapes", "bands")


def label_of(kind: str) -> int:
    """Return 1 for a properly worn mask, 0 for everything else."""
    return int(kind == "masked")
