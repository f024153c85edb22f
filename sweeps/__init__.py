"""Sweeps: train a grid of small transformers as stacks and forks, and log every loss curve to CSV."""
