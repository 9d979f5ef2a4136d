# Runs each line of /commands with the shells named, in an empty directory each, and
# prints what came out, between marks, with the status at the end.
export LC_ALL=C
mkdir -p /tmp/w
for shell; do
	n=0
	while IFS= read -r line; do
		n=$((n + 1))
		mkdir -p /tmp/w/d
		cd /tmp/w/d
		echo "##@ $shell: $n"
		timeout -k 1 20 /bin/$shell -c "$line" < /dev/null 2>&1
		echo "##= $?"
		cd /
		chmod -R 755 /tmp/w 2> /dev/null
		rm -rf /tmp/w/d
	done < /commands
done
echo "##@ end"
