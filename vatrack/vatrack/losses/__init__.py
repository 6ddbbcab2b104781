"""Assignment, sampling and losses; torch and torchvision only."""
