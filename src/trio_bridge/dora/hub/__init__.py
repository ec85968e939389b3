"""The hub contract: dataflows of the ecosystem's nodes, one session on each instance."""
