"""What a landing does between a labeling tool and a destination: plan, read, spool, and what lands along."""
