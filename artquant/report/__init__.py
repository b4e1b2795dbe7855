"""What people read, each one HTML file. Of a scoring run: `summary` gathers it in the workers, `page` draws it. Of a training run, a
comparison of two models and an evaluation: `training_page`, `shadow_page`, `evaluation_page`, from the records in `training_facts` and
`evaluation_facts`.
"""
