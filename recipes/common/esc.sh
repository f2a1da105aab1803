# shellcheck shell=bash
# Sourced by the recipes of ESC-10 and ESC-50, which set $corpus_name and $here: all that they have in common.
# Systems are named network-feature[-attention][-augment][-seedN], for instance acrnn-gammatone-l10-augment; seed 0 goes
# without a word.

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options and sets fold_list and parallel
corpus=""
stage=1
stop_stage=9
folds=1-5
system="$default_systems"
features="logmel gammatone"
denoised=true
attention=l10
augment=false
segments=auto
schedule=cpu
epochs=0
rows=0
valid=""
monitor=""
device=auto
jobs=0
partial=false
out="$here/exp"
seed=0

. "$here/../common/begin.sh"
words system acrnn att_crnn cnn piczak_cnn
words features logmel gammatone
words attention none l2 l4 l6 l8 l10
one_of denoised true false
one_of augment true false
one_of schedule cpu paper
one_of partial true false
whole epochs rows
wholes seed

# The clips whose attention is drawn, as in figure 2 of Zhang 2019: a dog barks, a baby cries, a clock ticks.
pictured="1-100032-A-0 1-187207-A-20 1-21934-A-38"

# features_of NETWORK prints the names of its feature stores.
features_of() {
  case "$1" in
    att_crnn | cnn) echo "$features" ;;
    acrnn) echo gammatone ;;
    piczak_cnn) echo logmel ;;
  esac
}

preset_of() {
  case "$1" in
    acrnn) echo zhang2019 ;;
    piczak_cnn) echo piczak2015 ;;
    *) echo phan2019 ;;
  esac
}

back_ends_of() {
  case "$1" in
    piczak_cnn) echo softmax ;; # an SVM has no place in its paper, and 5000 dimensions to go through
    *) echo "softmax svm" ;;
  esac
}

# store_of NETWORK FEATURE prints where these features lie.
store_of() {
  local preset
  preset=$(preset_of "$1")
  if [ "$preset" = phan2019 ]; then echo "$out/$2$varied"; else echo "$out/$2-$preset$varied"; fi
}

# cut_of NETWORK prints how its clips are cut where that is not as in its preset: by the short schedule silent segments
# of acrnn are left out, and there are twice as many others.
cut_of() {
  if [ "$segments" != auto ]; then
    echo "$segments"
  elif [ "$1" = acrnn ] && [ "$schedule" != paper ]; then
    echo "silence_db=-80 segment_hop_frames=32"
  fi
}

# of_seed N prints the end of the names of its systems.
of_seed() { [ "$1" -eq 0 ] || echo "-seed$1"; }

# variants_of NETWORK prints its systems but for the seed.
variants_of() {
  local feature place
  for feature in $(features_of "$1"); do
    if [ "$1" = acrnn ]; then
      for place in $attention; do echo "$1-$feature-$place$suffix"; done
    else
      echo "$1-$feature$suffix"
    fi
  done
}

data="$out/data" suffix="" varied=""
[ "$augment" = false ] || data="$out/varied" suffix=-augment varied=-varied
if due 1; then
  [ -n "$corpus" ] || slip "give --corpus DIR, where $corpus_name lies"
  whole_corpus=()
  [ "$partial" = false ] || whole_corpus=(--set allow_partial=true)
  run prep "$corpus_name" "$corpus" "$out/data" "${parallel[@]}" ${valid:+--valid "$valid"} "${whole_corpus[@]}"
  if [ "$augment" = true ]; then
    run augment "$out/data" "$data" --method time_stretch,pitch_shift --config zhang2019 --seed "${seed%% *}" "${parallel[@]}"
  fi
fi

uses_denoised() { [ "$denoised" = true ] && [ "$(preset_of "$1")" = phan2019 ]; }

if due 2; then
  for network in $system; do
    if uses_denoised "$network"; then
      run denoise "$data" "$out/denoised$varied" "${parallel[@]}"
      break
    fi
  done
fi
if due 3; then
  for network in $system; do
    channels=(--delta)
    [ "$(preset_of "$network")" != phan2019 ] || channels=()
    if uses_denoised "$network"; then channels=(--denoised "$out/denoised$varied"); fi
    for setting in $(cut_of "$network"); do channels+=(--set "$setting"); done
    for feature in $(features_of "$network"); do
      run featurize "$data" "$(store_of "$network" "$feature")" --type "$feature" --config "$(preset_of "$network")" \
        "${channels[@]}" "${parallel[@]}"
    done
  done
fi

# Train, extract and svm of one system in one fold, named as fold1/att_crnn-logmel.
one_system() {
  local fold name network feature place store options where own_seed=0
  fold=${1%%/*} name=${1#*/}
  [[ "$name" != *-seed* ]] || own_seed=${name##*-seed}
  fold=${fold#fold}
  IFS=- read -r network feature place _ <<< "$name"
  store=$(store_of "$network" "$feature") where=$(device_of "$(place_of "$fold")")
  local base="$out/fold$fold/$name"
  mkdir -p "$out/fold$fold"
  if due 4; then
    options=(--config "$(preset_of "$network")")
    [ "$schedule" = paper ] || options=(--config "$here/conf/$network.toml")
    [ "$network" != acrnn ] || options+=(--set "attention=$place")
    if [ "$(preset_of "$network")" = phan2019 ]; then
      options+=(--mix between_class)
    elif [ "$augment" = true ]; then
      options+=(--mix mixup)
    fi
    [ "$epochs" -eq 0 ] || options+=(--epochs "$epochs")
    [ "$rows" -eq 0 ] || options+=(--rows-per-epoch "$rows")
    run train "$store" "$base-run" --model "$network" --fold "$fold" "${options[@]}" --seed "$own_seed" \
      --device "$where" ${monitor:+--monitor "$monitor"}
  fi
  if due 5; then
    run extract "$base-run" "$store" "$base-softmax" --kind posterior --system "${name//-/ } softmax" --device "$where"
    run extract "$base-run" "$store" "$base-embedding" --kind embedding --system "${name//-/ }" --device "$where"
  fi
  if due 6 && [[ "$(back_ends_of "$network")" = *svm* ]]; then
    run svm "$base-embedding" "$base-svm" --seed "$own_seed"
  fi
}

systems=()
for fold in $fold_list; do
  mkdir -p "$out/logs/fold$fold"
  for network in $system; do
    for name in $(variants_of "$network"); do
      for one in $seed; do systems+=("fold$fold/$name$(of_seed "$one")"); done
    done
  done
done
if due 4 || due 5 || due 6; then
  side_by_side "$jobs" "$out/logs" one_system "${systems[@]}"
fi

# Segments to clips: the product as Phan 2019 has it, the mean as Zhang 2019 and Piczak 2015.
# Made anew each time (--force): a second call may bring further folds.
rule_of() { if [ "$(preset_of "$1")" = phan2019 ]; then echo product; else echo mean; fi; }

# folds_of NAME prints that result in every fold of this call, and in those that earlier ones have finished.
folds_of() {
  local fold path
  {
    for fold in $fold_list; do echo "$out/fold$fold/$1"; done
    for path in "$out"/fold*/"$1"; do [ ! -e "$path/manifest.json" ] || echo "$path"; done
  } | sort -Vu
}

# What this call has fused to clips, by name, and the folds of each.
declare -A folds_in

# have_same_folds NAME...: whether all these are there, of the same folds.
have_same_folds() {
  local name
  for name in "$@"; do [ "${folds_in[$name]:-none}" = "${folds_in[$1]:-}" ] || return 1; done
}

# fuse_clips RESULT OPTION... -- NAME...: the clips of several as one, if they are of the same folds. What an earlier call
# has made of others does not stay.
fuse_clips() {
  local result=$1 options=()
  shift
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  [ $# -gt 1 ] || return 0
  rm -rf "$out/clips/$result"
  have_same_folds "$@" || return 0
  folds_in[$result]=${folds_in[$1]}
  run fuse "${@/#/$out/clips/}" "$out/clips/$result" "${options[@]}"
}

# fuse_seeds NAME BACK_END WORDS: the mean over the seeds of the clips of a system, which the table calls by these words.
fuse_seeds() {
  local one names=()
  for one in $seed; do names+=("$1$(of_seed "$one")-$2"); done
  fuse_clips "$1-seeds-$2" --rule mean --system "$3 ${#names[@]} seeds $2" -- "${names[@]}"
}

# fuse_features NETWORK END BACK_END: the segments of all its features, then their clips.
fuse_features() {
  local name feature of_segments names=() missing=() fused="$1$suffix$2-$3"
  for feature in $features; do names+=("$1-$feature$suffix$2-$3"); done
  have_same_folds "${names[@]}" || return 0
  # What is silent in one feature need not be in the other: a segment is then fused from those that have it.
  [[ "$(cut_of "$1")" != *silence_db* ]] || missing=(--allow-missing)
  mapfile -t of_segments < <(for name in "${names[@]}"; do folds_of "$name"; done)
  run fuse "${of_segments[@]}" "$out/fused/$fused" --level segment --system "$1 fused${suffix/-/ }${2/-/ } $3" \
    "${missing[@]}" --force
  run fuse "$out/fused/$fused" "$out/clips/$fused" --force
  folds_in[$fused]=${folds_in[${names[0]}]}
}

# fuse_all BACK_END: the clips of all systems, where these are partners and not rows of the paper's table of attention.
fuse_all() {
  local one network name end names
  [ "$(wc -w <<< "$attention")" -eq 1 ] || return 0
  for one in $seed; do
    end=$(of_seed "$one") names=()
    for network in $system; do
      [[ "$(back_ends_of "$network")" = *$1* ]] || continue
      for name in $(variants_of "$network"); do names+=("$name$end-$1"); done
    done
    fuse_clips "all$end-$1" --system "all fused${end/-/ } $1" -- "${names[@]}"
  done
  fuse_seeds all "$1" "all fused"
}

if due 7; then
  mkdir -p "$out/clips" "$out/fused"
  for network in $system; do
    both_features=false
    if [ "$(preset_of "$network")" = phan2019 ] && [ "$(wc -w <<< "$features")" -gt 1 ]; then both_features=true; fi
    for back_end in $(back_ends_of "$network"); do
      for one in $seed; do
        end=$(of_seed "$one")
        for name in $(variants_of "$network"); do
          mapfile -t inputs < <(folds_of "$name$end-$back_end")
          run fuse "${inputs[@]}" "$out/clips/$name$end-$back_end" --rule "$(rule_of "$network")" --force
          folds_in[$name$end-$back_end]=$(printf '%s\n' "${inputs[@]%/*}")
        done
        [ "$both_features" = false ] || fuse_features "$network" "$end" "$back_end"
      done
      for name in $(variants_of "$network"); do fuse_seeds "$name" "$back_end" "${name//-/ }"; done
      [ "$both_features" = false ] || fuse_seeds "$network$suffix" "$back_end" "$network fused${suffix/-/ }"
    done
  done
  fuse_all softmax
  fuse_all svm
fi

# Everything that was fused so far, by this call or an earlier one, with the segments beside the clips. Where a fold
# validates, its test fold is not looked at: such runs are for choosing.
if due 8; then
  results=()
  for path in "$out"/clips/*; do
    name=${path##*/}
    results+=("$path")
    for of_segments in "$out"/fold*/"$name" "$out/fused/$name"; do
      [ ! -e "$of_segments/manifest.json" ] || results+=("$of_segments")
    done
  done
  run score "${results[@]}" --out "$out/scores" ${valid:+--subset valid} --force
  if [ -z "$valid" ] && [ -e "$out/scores/scores.json" ]; then
    python3 "$common/beside_paper.py" "$out/scores/scores.json" "$here/conf/paper.toml" "$out"
  fi
fi

if due 9; then
  fold=${fold_list%% *}
  mkdir -p "$out/pictures"
  for network in $system; do
    for name in $(variants_of "$network"); do
      [[ "$name" = *crnn* && "$name" != *-none* ]] || continue
      name+=$(of_seed "${seed%% *}")
      read -r feature < <(cut -d- -f2 <<< "$name")
      where="$out/fold$fold/$name-attention"
      run extract "$out/fold$fold/$name-run" "$(store_of "$network" "$feature")" "$where" --kind attention \
        --system "${name//-/ }, fold $fold" --device "$(device_of 0)"
      for clip in $pictured; do
        [ "$partial" = false ] || grep -q "^$clip," "$data/clips.csv" || continue
        run info "$where" --clip "$clip" --plot "$out/pictures/fold$fold-$name-$clip.png" --quiet > /dev/null
      done
    done
  done
fi
