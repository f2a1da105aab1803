"""The loop, its batches, losses and optimisers, resuming; batched inference."""
