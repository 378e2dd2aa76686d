"""How does a version that a pull request trained get into storage and onto its branch, without anybody being trusted?

`pack` runs in the job that ran the pull request's code, with a token that may read. It writes a folder:

    outputs.json          {"format": 1, "model", "commit" (the measured one), "version"}
    files/<path>          what git keeps of the model, by its path in models/<model>/
    objects/<aa>/<rest>   what DVC keeps, by its md5

`store` runs in a job that may write, from the base commit's code. What it trusts: its own code, the settings of the
base commit, and what git says about the measured commit. It does not trust the folder, which any code of the pull
request may have written: names, sizes, kinds of files, the lock and every digest are looked at (`verify`) before
anything of a model is written, and nothing of the folder is ever run, imported or deserialised.
What this cannot show is that the measured code made these bytes; the verdict on the new commit runs the pipeline again
wherever the lock does not fit the inputs, and people review the pull request.
"""
