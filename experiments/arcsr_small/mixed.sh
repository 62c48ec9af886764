# Sourced by the studies on data=mixed, with ROOT of link_data.py in root: links and prepares, and leaves the settings in data.
python "$here/../arcsr_small/link_data.py" "$root" small_data
photographs=small_data/photographs
data="data.root=$photographs/train data.val_root=$photographs/val data.gopro=small_data/gopro data.reds=small_data/reds"
arcsr-prepare data=mixed $data
