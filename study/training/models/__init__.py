"""Networks: architectures, initial and pretrained weights."""
