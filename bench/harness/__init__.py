"""What bench/run and bench/instructions share."""
