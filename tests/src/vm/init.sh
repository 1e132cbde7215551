#!/busybox sh
# The initramfs of a machine of the lab: finds its disk and the host's payload, lets the payload prepare the disk, and starts
# systemd on it. A step that fails powers the machine off; the console says which.
b=/busybox
$b mkdir -p /proc /sys /dev /root
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1

stop() {
    echo "lab: $1"
    $b poweroff -f
}

for module in $($b cat /modules/order); do
    $b insmod "/modules/$module" || stop "cannot load $module"
done
tries=0
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || stop "no disks after 30 s"
    $b sleep 0.1
done
$b mount -t ext4 /dev/vda /root || stop "cannot mount the disk"
$b mkdir -p /root/lab
$b mount -t ext4 -o ro /dev/vdb /root/lab || stop "cannot mount the payload"
$b mount --bind /proc /root/proc
$b mount --bind /dev /root/dev
$b mount -t tmpfs tmpfs /root/run
$b chroot /root /bin/sh -e /lab/prepare.sh || stop "preparing the disk failed"
for place in run dev proc; do
    $b umount /root/$place
done
$b umount /sys
$b mount --move /dev /root/dev
$b umount /proc
exec $b switch_root /root /sbin/init
