"""Random changes of training images, applied to whole batches on the trial's device."""
