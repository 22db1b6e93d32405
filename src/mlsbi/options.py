"""Options of the training loop."""

from __future__ import annotations

from dataclasses import dataclass

from mlsbi._checks import check_count, check_fraction, check_option, check_positive, check_type

__all__ = ["Training"]


@dataclass(frozen=True)
class Training:
    """How every strategy trains.

    Attributes:
        max_steps: Optimiser steps at most, in each stage.
        learning_rate: Peak learning rate of AdamW.
        batch_size: Rows of each level in a step; a level with fewer gives all it has. None: all
            rows of every level in every step.
        weight_decay: Decoupled decay of weight matrices (biases are not decayed).
        clip: Longest gradient of one member; None: no clipping.
        validation_fraction: Part of each level's rows that a member does not train on; stopping is
            decided on them. None: no held-out part, the last weights are kept.
        patience: Evaluations without improvement after which training stops.
        evaluate_every: Steps between evaluations.
        warmup: Steps over which the learning rate rises.
        schedule: "cosine" falls to zero at `max_steps`; "constant" does not fall.
        average: Decay a step of the running mean of the weights that is evaluated and kept; 0: the
            weights themselves.
        dropout: Rate behind each activation of the mlsbi estimators.
        common_dropout: One mask for all rows of a step, so that a pair loses the same features;
            False: independent masks, as the paper's released code has.
        checkpoint_seconds: Seconds between writes of the checkpoint file.
    """

    max_steps: int = 3000
    learning_rate: float = 1e-3
    batch_size: int | None = 128
    weight_decay: float = 1e-2
    clip: float | None = 5.0
    validation_fraction: float | None = 0.2
    patience: int = 20
    evaluate_every: int = 25
    warmup: int = 50
    schedule: str = "cosine"
    average: float = 0.98
    dropout: float = 0.0
    common_dropout: bool = True
    checkpoint_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            TypeError: An option has the wrong type.
            ValueError: An option is out of range; the message names it and the range.
        """
        for name in ("max_steps", "patience", "evaluate_every"):
            check_count(getattr(self, name), name=name)
        check_count(self.warmup, name="warmup", minimum=0)
        if self.batch_size is not None:
            check_count(self.batch_size, name="batch_size")
        check_positive(self.learning_rate, name="learning_rate")
        check_positive(self.weight_decay, name="weight_decay", strict=False)
        check_positive(self.checkpoint_seconds, name="checkpoint_seconds", strict=False)
        if self.clip is not None:
            check_positive(self.clip, name="clip")
        if self.validation_fraction is not None:
            check_fraction(self.validation_fraction, name="validation_fraction")
        check_type(self.common_dropout, bool, name="common_dropout")
        check_option(self.schedule, name="schedule", allowed=("cosine", "constant"))
        for name in ("average", "dropout"):
            check_positive(getattr(self, name), name=name, maximum=0.9999, strict=False)

    @classmethod
    def paper(cls, *, epochs: int) -> Training:
        """As the authors trained: full batch, Adam at 1e-4, fixed epochs, dropout of 0.1.

        The dropout masks of a pair are independent and nothing is held out, as in their released
        code; unlike it, the trained density is evaluated without dropout.

        References:
            Hikida, Bharti, Jeffrey, Briol (2025), arXiv:2506.06087, experiments.
        """
        return cls(
            max_steps=epochs,
            learning_rate=1e-4,
            batch_size=None,
            weight_decay=0.0,
            clip=None,
            validation_fraction=None,
            warmup=0,
            schedule="constant",
            average=0.0,
            dropout=0.1,
            common_dropout=False,
        )
