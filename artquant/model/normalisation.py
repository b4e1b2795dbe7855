"""Mean and standard deviation of the channels, as CLIP was trained with: importing them imports no network."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
