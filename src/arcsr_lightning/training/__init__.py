"""What Lightning calls: the training loop's view of a network, callbacks, checkpoints that outlive a signal."""
