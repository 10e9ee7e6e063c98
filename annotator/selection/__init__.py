"""What people should look at next: how uncertain a step is, what looking costs, and which trajectories make a round."""
