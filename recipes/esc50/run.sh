#!/usr/bin/env bash
# ESC-50, five official folds: the systems of Phan 2019 and Zhang 2019, softmax and SVM, their fusion.
# A stopped recipe goes on where it was; any stage can be run again alone.
#
#   --corpus DIR                where ESC-50 lies (audio/ and meta/esc50.csv, or the older folders of ogg files)
#   --stage N, --stop-stage N   from and up to which stage (1 prep and augment, 2 denoise, 3 featurize, 4 train,
#                               5 extract, 6 svm, 7 fuse, 8 score, 9 pictures of attention)
#   --folds 1-5                 which folds
#   --system "acrnn"   which networks, of acrnn att_crnn cnn piczak_cnn
#   --features "logmel gammatone"  of att_crnn and cnn
#   --denoised true|false       whether the denoised recording is a second channel of att_crnn and cnn
#   --attention "l10"           of acrnn, one or several of none l2 l4 l6 l8 l10
#   --augment true|false        varied copies of training clips (time stretch, pitch shift); acrnn and piczak_cnn mix as well
#   --segments auto|"..."       settings of featurize beside the presets, such as "silence_db=-80"; auto: with the cpu schedule
#                               acrnn goes without silent segments, and others begin every 32 frames
#   --schedule cpu|paper        cpu: conf/*.toml, 30 to 40 epochs; paper: as published, for a GPU
#   --epochs N                  of training (0: the schedule's)
#   --rows N                    training rows that an epoch takes (0: the schedule's, or all)
#   --valid next                validate on the next fold (3-1-1), and judge those clips: for choosing settings, with an
#                               --out of its own
#   --monitor test              write the test accuracy of every epoch into the history (it chooses nothing)
#   --device "auto"             where networks compute: auto, cpu, cuda, or several such as "cuda:0 cuda:1" in turn
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --partial true|false        do with the clips that are there
#   --out DIR                   where everything goes; the table holds all that was made there
#   --seed "0"                  of training, one or several such as "0 1 2": then their means are in the table too; copies of
#                               clips are drawn by the first, so that seeds are added as --seed "0 3"

# shellcheck disable=SC2034  # for esc.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
corpus_name=esc50
default_systems="acrnn"

. "$here/../common/esc.sh"
