"""Which painting is for what; the ranges never meet."""

SAMPLE = range(0, 100_000)
HELD_OUT = range(100_000, 200_000)
TRAINING = range(1_000_000, 5_000_000)  # of the ablation and other measurements
ANNOTATED = range(5_000_000, 10_000_000)  # the sample annotations; the training split of the first 17,500 taught artquant-tiny
