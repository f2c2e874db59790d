"""Running a network: device, memory, and the fused network for many passes."""
