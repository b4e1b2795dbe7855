"""Which painting is for what; the ranges never meet."""

SAMPLE = range(0, 100_000)
HELD_OUT = range(100_000, 200_000)
TRAINING = range(1_000_000, 5_000_000)  # the weights that come with the code learnt from the first 16,000
ANNOTATED = range(5_000_000, 10_000_000)  # the sample annotations, which those weights have never seen
