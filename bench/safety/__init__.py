"""How well prompts are judged: precision and recall on labelled prompts, plain and disguised."""
