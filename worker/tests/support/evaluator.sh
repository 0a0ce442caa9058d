# An evaluator for tests: what it does with a job is the job's decision "do".
folder=$1
say() { printf '{"espalier":1,"type":%s}\n' "$1"; }
measure() { say "\"measurement\",\"step\":$1,\"metrics\":{\"accuracy\":0.$1,\"loss\":1.5}"; }
# What a message about another attempt than the running one looks like.
of() { say "$2,\"attempt_id\":\"$1\""; }
wait_for() { while [ ! -e "$folder/$1" ]; do sleep 0.01; done; }
echo $$ >> "$folder/pids"
# Whether it knows checkpoints is said by a file.
knows=false; [ -e "$folder/checkpoints" ] && knows=true
say '"ready","protocol":1,"description":"a test","jobs":["train","test"],"devices":["cpu"],"checkpoints":'$knows
while IFS= read -r line; do
  case "$line" in *'"scratch"'*) scratch=$(printf '%s' "$line" | sed 's/.*"scratch":"\([^"]*\)".*/\1/') ;; esac
  before=$attempt
  attempt=$(printf '%s' "$line" | sed 's/.*"attempt_id":"\([^"]*\)".*/\1/')
  case "$line" in
    *'"type":"shutdown"'*) exit 0 ;;
    *'"type":"stop"'*) echo stopped >> "$folder/stops"
      say '"failed","failure":{"domain":"internal","kind":"evaluator","message":"stopped"}' ;;
    *'"type":"checkpoint"'*) echo asked >> "$folder/asked"
      case "$(cat "$folder/checkpoints")" in
        write) printf 'half a network' > "$scratch/half"; say '"checkpoint","path":"half","step":1' ;;
        measure) measure 2; printf 'half a network' > "$scratch/half"; say '"checkpoint","path":"half","step":2' ;;
        finish) measure 2; say '"done"' ;;
        nothing) say '"failed","failure":{"domain":"worker","kind":"evaluator","message":"nothing to go on from"}' ;;
        diverge) say '"failed","failure":{"domain":"candidate","kind":"diverged","message":"the loss is NaN"}' ;;
        steal) say '"checkpoint","path":"/etc/hostname","step":1' ;;
        late) say '"checkpoint","path":"half","step":3' ;;
        exit) exit 3 ;;
        deaf) ;;
      esac ;;
    *'"type":"evaluate"'*'"checkpoint_path"'*'"do":"wait"'*|*'"type":"evaluate"'*'"do":"wait"'*'"checkpoint_path"'*)
      cp "$(printf '%s' "$line" | sed 's/.*"checkpoint_path":"\([^"]*\)".*/\1/')" "$folder/resumed"
      measure 2; measure 3; say '"done"' ;;
    *'"job":{"test"'*)
      weights=$(printf '%s' "$line" | sed 's/.*"weights_path":"\([^"]*\)".*/\1/')
      cp "$weights" "$folder/tested"
      say '"done","metrics":{"accuracy":0.75}' ;;
    *'"do":"train"'*)
      echo 'a print() that is no protocol line'
      echo '{"not": "ours"}'
      echo 'a warning' >&2
      measure 1; measure 2
      printf 'some weights' > "$scratch/weights"
      say '"done","weights":"weights"' ;;
    *'"do":"no weights"'*) measure 1; say '"done"' ;;
    *'"do":"slow"'*) measure 1; wait_for go; measure 2; measure 3; say '"done"' ;;
    *'"do":"wait"'*) measure 1 ;;
    *'"do":"after late words"'*)
      of "$before" '"measurement","step":2,"metrics":{"accuracy":0.9}'
      of "$before" '"done"'
      of "$attempt" '"measurement","step":1,"metrics":{"accuracy":0.1}'
      of "$attempt" '"done"' ;;
    *'"do":"deaf"'*) measure 1; wait_for go; say '"done"' ;;
    *'"do":"progress bar"'*) measure 1
      for step in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do printf '.' >&2; sleep 0.1; done
      measure 2; say '"done"' ;;
    *'"do":"hang"'*)
      trap 'echo TERM >> "$folder/terms"; exit 0' TERM
      sleep 1000 & echo $! >> "$folder/sleepers"
      # One that leaves the group and its parent, as daemons do.
      (setsid sh -c 'echo $$ >> "$1/sleepers"; exec sleep 1000' daemon "$folder" &)
      measure 1; wait ;;
    *'"do":"crash"'*) echo 'the last words' >&2; exit 3 ;;
    *'"do":"memory"'*) echo 'MemoryError: cannot have 3 GiB' >&2; exit 1 ;;
    *'"do":"other metric"'*) say '"measurement","step":1,"metrics":{"precision":0.5}' ;;
    *'"do":"garbage"'*) echo '{"espalier":1,"type":"measurement","step":"one"}' ;;
    *'"do":"broken inside"'*)
      say '"failed","failure":{"domain":"internal","kind":"evaluator","message":"CUDA error: assert"}' ;;
    *'"do":"diverge"'*)
      say '"failed","failure":{"domain":"candidate","kind":"diverged","message":"the loss is NaN"}' ;;
    *'"do":"steal"'*) measure 1; say '"done","weights":"/etc/hostname"' ;;
  esac
done
